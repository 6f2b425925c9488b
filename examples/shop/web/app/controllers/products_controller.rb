class ProductsController < ActionController::Base
  layout "application"

  # From here the api is where it listens, as .localdev/routes says; browsers ask for it through the proxy.
  CART = URI("http://#{ENV["HOST_ALIAS_IP"]}:4000/api/cart")

  def index
    @products = Product.order(:name)
  end

  def admin
    @count = Product.count
    @items = JSON.parse(Net::HTTP.get(CART))["items"]
  rescue SystemCallError
    @items = nil
  end
end
