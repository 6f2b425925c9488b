class ProductsController < ActionController::Base
  # The same address and port as in localdev/routes; the browser asks for it by the proxy.
  API = URI("http://#{ENV["HOST_ALIAS_IP"]}:4000/api/cart")

  def index
    @products = Product.order(:name)
  end

  def admin
    @products = Product.order(:name)
    @items = JSON.parse(Net::HTTP.get(API))["items"]
  rescue SystemCallError
    @items = nil # the api is down
  end
end
