Rails.application.routes.draw do
  constraints subdomain: "admin" do
    root to: "products#admin", as: :admin
  end
  root to: "products#index"
end
